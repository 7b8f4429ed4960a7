// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {INodeStaking, UnbondRequest} from "./interfaces/INodeStaking.sol";
import {IParams, Windows} from "./interfaces/IParams.sol";
import {Hashes} from "./lib/Hashes.sol";
import {Signatures} from "./lib/Signatures.sol";
import {Tokens} from "./lib/Tokens.sol";

/// @dev See {INodeStaking}.
contract NodeStaking is INodeStaking, EIP712 {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;

    uint256 private constant REQUESTS_MAX = 16;
    uint64 private constant ACTIVE = type(uint64).max;
    /// @dev Nobody has the key of this account, and every token lets it receive.
    address private constant BURNT = 0x000000000000000000000000000000000000dEaD;

    IERC20 public immutable token;
    IParams public immutable params;
    uint64 private immutable _unbonding;
    uint64 private immutable _slashGap;

    Totals private _totals;
    /// @inheritdoc INodeStaking
    mapping(address node => uint128) public bondedOf;
    /// @dev Ascending by readyAt, since every request waits equally long.
    mapping(address node => UnbondRequest[]) private _requests;
    /// @inheritdoc INodeStaking
    mapping(address node => uint64) public slashedAt;
    /// @inheritdoc INodeStaking
    mapping(address node => mapping(address key => uint64)) public signerUntil;

    constructor(IERC20 token_, IParams params_) EIP712("OpenLedgerStaking", "2") {
        Windows memory windows = params_.windows();
        token = token_;
        params = params_;
        _unbonding = windows.unbonding;
        _slashGap = windows.slashGap;
    }

    /// @inheritdoc INodeStaking
    function bond(uint128 amount) external {
        _bond(amount);
    }

    /// @inheritdoc INodeStaking
    function bondWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        token.tryPermit(amount, deadline, v, r, s);
        _bond(amount);
    }

    /// @inheritdoc INodeStaking
    function unbond(uint128 amount) external {
        uint128 bonded = bondedOf[msg.sender];
        UnbondRequest[] storage requests = _requests[msg.sender];
        if (amount == 0) revert ZeroAmount();
        if (amount > bonded) revert InsufficientBond(bonded, amount);
        if (requests.length == REQUESTS_MAX) revert TooManyRequests(REQUESTS_MAX);
        bondedOf[msg.sender] = bonded - amount;
        _totals.bonded -= amount;
        _totals.unbonding += amount;
        uint64 readyAt = uint64(block.timestamp) + _unbonding;
        requests.push(UnbondRequest({amount: amount, readyAt: readyAt}));
        emit UnbondStarted(msg.sender, amount, readyAt);
    }

    /// @inheritdoc INodeStaking
    function withdraw() external {
        uint128 amount = _takeMatured(_requests[msg.sender]);
        if (amount == 0) revert NothingMatured(uint64(block.timestamp));
        _totals.unbonding -= amount;
        _totals.withdrawn += amount;
        emit StakeWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc INodeStaking
    function setSigner(address signer, uint64 deadline, bytes calldata consent) external {
        bytes32 digest = _hashTypedDataV4(Hashes.ofSignerConsent(msg.sender, deadline));
        address signedBy = Signatures.signerOf(digest, consent);
        if (signer == address(0) || signer == msg.sender) revert BadSigner(signer);
        if (block.timestamp > deadline) revert ConsentExpired(deadline);
        if (signedBy != signer) revert NoConsent(signer, signedBy);
        signerUntil[msg.sender][signer] = ACTIVE;
        emit SignerSet(msg.sender, signer);
    }

    /// @inheritdoc INodeStaking
    function revokeSigner(address signer) external {
        if (signerUntil[msg.sender][signer] != ACTIVE) revert NotASigner(msg.sender, signer);
        uint64 until = uint64(block.timestamp) + _unbonding;
        signerUntil[msg.sender][signer] = until;
        emit SignerRevoked(msg.sender, signer, until);
    }

    /// @inheritdoc INodeStaking
    function slash(address node, uint128 amount, bytes32 evidence) external {
        (uint64 now_, uint64 last) = (uint64(block.timestamp), slashedAt[node]);
        uint128 most = params.claimTermsAt(params.epochAt(now_)).minStake;
        if (msg.sender != params.governor()) revert NotGovernor(msg.sender);
        if (amount > most) revert SlashTooLarge(amount, most);
        // One fault of a software must not take everything, so its operator has some time to mend it.
        if (last != 0 && now_ < last + _slashGap) revert SlashedLately(node, last + _slashGap);
        slashedAt[node] = now_;
        uint128 bonded = _takeBonded(node, amount);
        uint128 unbonding = _takeOldest(_requests[node], amount - bonded);
        uint128 slashed = bonded + unbonding;
        if (slashed == 0) revert NothingToSlash(node);
        _totals.bonded -= bonded;
        _totals.unbonding -= unbonding;
        _totals.slashed += slashed;
        emit Slashed(node, slashed, evidence);
        token.safeTransfer(BURNT, slashed);
    }

    /// @inheritdoc INodeStaking
    function nodeOf(address node) external view returns (uint128 bonded, uint128 unbonding) {
        UnbondRequest[] memory requests = _requests[node];
        for (uint256 i = 0; i < requests.length; ++i) unbonding += requests[i].amount;
        bonded = bondedOf[node];
    }

    /// @inheritdoc INodeStaking
    function isSigner(address node, address key) external view returns (bool) {
        return key == node || signerUntil[node][key] == ACTIVE;
    }

    /// @inheritdoc INodeStaking
    function unbondRequests(address node) external view returns (UnbondRequest[] memory) {
        return _requests[node];
    }

    /// @inheritdoc INodeStaking
    function totals() external view returns (Totals memory) {
        return _totals;
    }

    function _bond(uint128 amount) private {
        if (amount == 0) revert ZeroAmount();
        bondedOf[msg.sender] += amount;
        _totals.bonded += amount;
        _totals.bondedIn += amount;
        emit Bonded(msg.sender, amount);
        token.pull(amount);
    }

    function _takeMatured(UnbondRequest[] storage requests) private returns (uint128 amount) {
        uint256 matured = 0;
        while (matured < requests.length && requests[matured].readyAt <= block.timestamp) {
            amount += requests[matured++].amount;
        }
        _removeFirst(requests, matured);
    }

    function _takeBonded(address node, uint128 amount) private returns (uint128 taken) {
        taken = _min(amount, bondedOf[node]);
        bondedOf[node] -= taken;
    }

    /// @dev What would leave first is lost first.
    function _takeOldest(UnbondRequest[] storage requests, uint128 amount) private returns (uint128 taken) {
        uint256 emptied = 0;
        while (taken < amount && emptied < requests.length) {
            UnbondRequest storage oldest = requests[emptied];
            uint128 part = _min(amount - taken, oldest.amount);
            taken += part;
            oldest.amount -= part;
            if (oldest.amount == 0) ++emptied;
        }
        _removeFirst(requests, emptied);
    }

    function _removeFirst(UnbondRequest[] storage requests, uint256 count) private {
        for (uint256 i = count; i < requests.length; ++i) requests[i - count] = requests[i];
        for (uint256 i = 0; i < count; ++i) requests.pop();
    }

    function _min(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }
}
