// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";

/// @notice Channels with the interface and the rules of x402BatchSettlement, as far as pytest needs them.
/// @dev Written for the tests from x402's specification. A payer approves this contract, and anybody may then deposit.
/// The domain is computed at each call, so that the code works at any address where a test puts it.
contract BatchSettlement is Multicall {
    struct ChannelConfig {
        address payer;
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        bytes32 salt;
    }

    struct Channel {
        uint128 balance;
        uint128 totalClaimed;
    }

    struct Withdrawal {
        uint128 amount;
        uint40 initiatedAt;
    }

    struct Totals {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    struct Voucher {
        ChannelConfig channel;
        uint128 maxClaimableAmount;
    }

    struct VoucherClaim {
        Voucher voucher;
        bytes signature;
        uint128 totalClaimed;
    }

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CHANNEL = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 private constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");

    mapping(bytes32 id => Channel) public channels;
    mapping(bytes32 id => uint256) public refundNonce;
    mapping(bytes32 id => Withdrawal) public pendingWithdrawals;
    mapping(address receiver => mapping(address token => Totals)) public receivers;

    error NotAuthorizedToClaim();
    error InvalidSignature();
    error ClaimExceedsCeiling();
    error ClaimExceedsBalance();
    error WithdrawAmountExceedsAvailable();
    error WithdrawDelayNotElapsed();

    function deposit(ChannelConfig calldata config, uint128 amount) external {
        channels[getChannelId(config)].balance += amount;
        require(IERC20(config.token).transferFrom(config.payer, address(this), amount));
    }

    function claim(VoucherClaim[] calldata rows) external {
        for (uint256 i = 0; i < rows.length; i++) {
            ChannelConfig calldata config = rows[i].voucher.channel;
            if (msg.sender != config.receiver && msg.sender != config.receiverAuthorizer) revert NotAuthorizedToClaim();
            _claim(rows[i]);
        }
    }

    function settle(address receiver, address token) external {
        Totals storage totals = receivers[receiver][token];
        uint128 amount = totals.totalClaimed - totals.totalSettled;
        if (amount == 0) return;
        totals.totalSettled = totals.totalClaimed;
        require(IERC20(token).transfer(receiver, amount));
    }

    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external {
        bytes32 id = getChannelId(config);
        require(msg.sender == config.payer && pendingWithdrawals[id].initiatedAt == 0);
        Channel storage channel = channels[id];
        if (amount > channel.balance - channel.totalClaimed) revert WithdrawAmountExceedsAvailable();
        pendingWithdrawals[id] = Withdrawal(amount, uint40(block.timestamp));
    }

    function finalizeWithdraw(ChannelConfig calldata config) external {
        bytes32 id = getChannelId(config);
        Withdrawal memory pending = pendingWithdrawals[id];
        require(msg.sender == config.payer && pending.initiatedAt != 0);
        if (block.timestamp < uint256(pending.initiatedAt) + config.withdrawDelay) revert WithdrawDelayNotElapsed();
        delete pendingWithdrawals[id];
        Channel storage channel = channels[id];
        uint128 available = channel.balance - channel.totalClaimed;
        uint128 amount = pending.amount < available ? pending.amount : available;
        channel.balance -= amount;
        require(IERC20(config.token).transfer(config.payer, amount));
    }

    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _typed(keccak256(abi.encode(CHANNEL, config)));
    }

    function _claim(VoucherClaim calldata row) private {
        ChannelConfig calldata config = row.voucher.channel;
        bytes32 id = getChannelId(config);
        Channel storage channel = channels[id];
        if (row.totalClaimed <= channel.totalClaimed) return;
        if (row.totalClaimed > row.voucher.maxClaimableAmount) revert ClaimExceedsCeiling();
        if (row.totalClaimed > channel.balance) revert ClaimExceedsBalance();
        bytes32 digest = _typed(keccak256(abi.encode(VOUCHER, id, row.voucher.maxClaimableAmount)));
        if (ECDSA.recover(digest, row.signature) != config.payerAuthorizer) revert InvalidSignature();
        receivers[config.receiver][config.token].totalClaimed += row.totalClaimed - channel.totalClaimed;
        channel.totalClaimed = row.totalClaimed;
    }

    function _typed(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN, keccak256("x402 Batch Settlement"), keccak256("1"), block.chainid, address(this))
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }
}
