// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {ChannelConfig, EpochClaim} from "../../src/interfaces/Types.sol";
import {IChannels, IToken} from "./Contracts.sol";
import {Checks, vm} from "./Vm.sol";

/// @notice Who has a key, and what they sign for which contract. Written from the types' text, not with the contracts'
/// libraries.
abstract contract Signed is Checks {
    uint256 internal constant NODE_KEY = 0x1001;
    uint256 internal constant SIGNER_KEY = 0x1002;
    uint256 internal constant PAYER_KEY = 0x1003;
    uint256 internal constant AUTHORIZER_KEY = 0x1004;
    uint256 internal constant STRANGER_KEY = 0x1005;

    address internal node = vm.addr(NODE_KEY);
    address internal signer = vm.addr(SIGNER_KEY);
    address internal payer = vm.addr(PAYER_KEY);
    address internal authorizer = vm.addr(AUTHORIZER_KEY);
    address internal stranger = vm.addr(STRANGER_KEY);

    IToken internal token;
    INodeStaking internal staking;
    IChannels internal channels;
    IAttributionRewards internal rewards;

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The same signature in forms that must not count: s above the half, v as a bit, short form, with a byte
    /// more.
    function _forms(bytes memory signature) internal pure returns (bytes[4] memory) {
        (bytes32 r, bytes32 s, uint8 v) = _parsed(signature);
        bytes32 high = bytes32(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141 - uint256(s));
        bytes32 short = bytes32(uint256(s) | uint256(v - 27) << 255);
        return [
            abi.encodePacked(r, high, 55 - v),
            abi.encodePacked(r, s, v - 27),
            abi.encodePacked(r, short),
            abi.encodePacked(signature, uint8(0))
        ];
    }

    function _parsed(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    function _typed(string memory name, address at, bytes32 structHash) internal view returns (bytes32) {
        bytes32 kind = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        bytes32 version = keccak256(_version(name));
        bytes32 domain = keccak256(abi.encode(kind, keccak256(bytes(name)), version, block.chainid, at));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    /// @dev The token has a version of its own, as wallets know it.
    function _version(string memory name) private pure returns (bytes memory) {
        return keccak256(bytes(name)) == keccak256("OpenLedger") ? bytes("1") : bytes("2");
    }

    function _payments(bytes32 structHash) internal view returns (bytes32) {
        return _typed("OpenLedgerPayments", address(channels), structHash);
    }

    function _voucher(ChannelConfig memory config, bytes32 adapterId, uint128 max)
        internal
        view
        returns (bytes memory)
    {
        return _voucherBy(AUTHORIZER_KEY, config, adapterId, max);
    }

    function _voucherBy(uint256 key, ChannelConfig memory config, bytes32 adapterId, uint128 max)
        internal
        view
        returns (bytes memory)
    {
        bytes32 kind = keccak256("Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)");
        return _sign(key, _payments(keccak256(abi.encode(kind, channels.channelId(config), adapterId, max))));
    }

    function _consent(uint256 key, address node_, uint64 deadline) internal view returns (bytes memory) {
        bytes32 kind = keccak256("SignerConsent(address node,uint64 deadline)");
        bytes32 structHash = keccak256(abi.encode(kind, node_, deadline));
        return _sign(key, _typed("OpenLedgerStaking", address(staking), structHash));
    }

    function _refundSignature(uint256 key, ChannelConfig memory config, uint128 amount, uint256 nonce)
        internal
        view
        returns (bytes memory)
    {
        bytes32 kind = keccak256("Refund(bytes32 channelId,uint128 amount,uint256 nonce)");
        return _sign(key, _payments(keccak256(abi.encode(kind, channels.channelId(config), amount, nonce))));
    }

    function _epochClaimSignature(uint256 key, EpochClaim memory epochClaim) internal view returns (bytes memory) {
        bytes32 kind = keccak256("EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash)");
        return _sign(key, _payments(keccak256(abi.encode(kind, epochClaim))));
    }

    function _deadline() internal view returns (uint256) {
        return block.timestamp + 1 days;
    }

    /// @dev The payer takes back what `spender` may take, and signs a permit over `amount`.
    function _noAllowanceButPermit(address spender, uint256 amount) internal returns (uint8 v, bytes32 r, bytes32 s) {
        vm.prank(payer);
        token.approve(spender, 0);
        bytes32 kind =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(kind, payer, spender, amount, token.nonces(payer), _deadline()));
        return vm.sign(PAYER_KEY, _typed("OpenLedger", address(token), structHash));
    }
}
