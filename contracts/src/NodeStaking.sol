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
import {Wired} from "./lib/Wired.sol";

/// @dev See {INodeStaking}.
contract NodeStaking is INodeStaking, EIP712, Wired {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;

    uint256 private constant REQUESTS_MAX = 16;
    uint64 private constant ACTIVE = type(uint64).max;

    IERC20 public immutable token;
    IParams public immutable params;
    uint64 private immutable _unbonding;
    uint64 private immutable _holdMax;

    /// @notice The contract that can hold and slash stake.
    address public disputes;

    Totals private _totals;
    /// @inheritdoc INodeStaking
    mapping(address node => uint128) public bondedOf;
    /// @dev Ascending by readyAt, since every request waits equally long.
    mapping(address node => UnbondRequest[]) private _requests;
    /// @inheritdoc INodeStaking
    mapping(address node => uint64) public heldUntil;
    /// @inheritdoc INodeStaking
    mapping(address node => mapping(address key => uint64)) public signerUntil;

    constructor(IERC20 token_, IParams params_) EIP712("OpenLedgerStaking", "2") {
        Windows memory windows = params_.windows();
        token = token_;
        params = params_;
        _unbonding = windows.unbonding;
        // A pause moves a judge's deadline along.
        _holdMax = windows.contest + windows.judge + windows.pauseMax;
    }

    /// @inheritdoc INodeStaking
    function wire(address disputes_) external once {
        _checkRole(disputes_);
        disputes = disputes_;
        emit RolesWired(disputes_);
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
        uint64 until = heldUntil[msg.sender];
        if (block.timestamp < until) revert StakeHeld(until);
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
    function hold(address node, uint64 until) external {
        uint64 max = uint64(block.timestamp) + _holdMax;
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        // Whatever Disputes does, stake can leave again without it.
        if (until > max) revert HeldTooLong(until, max);
        heldUntil[node] = until;
        emit Held(node, until);
    }

    /// @inheritdoc INodeStaking
    function slash(address node, uint128 amount) external returns (uint128 slashed) {
        if (msg.sender != disputes) revert NotDisputes(msg.sender);
        uint128 bonded = _takeBonded(node, amount);
        uint128 unbonding = _takeYoungest(_requests[node], amount - bonded);
        slashed = bonded + unbonding;
        _totals.bonded -= bonded;
        _totals.unbonding -= unbonding;
        _totals.slashed += slashed;
        emit Slashed(node, slashed);
        token.safeTransfer(msg.sender, slashed);
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

    /// @dev The matured requests are the first ones. Those behind them move up.
    function _takeMatured(UnbondRequest[] storage requests) private returns (uint128 amount) {
        uint256 length = requests.length;
        uint256 matured = 0;
        while (matured < length && requests[matured].readyAt <= block.timestamp) amount += requests[matured++].amount;
        for (uint256 i = matured; i < length; ++i) requests[i - matured] = requests[i];
        for (uint256 i = 0; i < matured; ++i) requests.pop();
    }

    function _takeBonded(address node, uint128 amount) private returns (uint128 taken) {
        taken = _min(amount, bondedOf[node]);
        bondedOf[node] -= taken;
    }

    function _takeYoungest(UnbondRequest[] storage requests, uint128 amount) private returns (uint128 taken) {
        while (taken < amount && requests.length > 0) {
            UnbondRequest storage youngest = requests[requests.length - 1];
            uint128 part = _min(amount - taken, youngest.amount);
            taken += part;
            youngest.amount -= part;
            if (youngest.amount == 0) requests.pop();
        }
    }

    function _min(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }
}
